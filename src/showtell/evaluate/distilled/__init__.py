"""What a student is worth: its card and its page."""
