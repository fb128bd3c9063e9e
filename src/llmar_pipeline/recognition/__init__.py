"""Using a trained model: functions and small values that the recogniser and the commands compose."""
