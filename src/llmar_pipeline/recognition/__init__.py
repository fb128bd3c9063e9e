"""What is done with a trained model beside one answer a recording."""
