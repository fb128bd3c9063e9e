"""A trained model in use: what is made of recordings and answers around the recogniser."""
