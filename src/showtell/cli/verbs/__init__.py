"""The commands, one file each: options to a recipe, a job, and what is printed of it."""
