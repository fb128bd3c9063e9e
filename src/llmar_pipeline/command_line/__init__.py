"""What can be typed: options and arguments of every command, whose work is in `commands`."""
