"""What is written and read again: files, folders, databases."""
