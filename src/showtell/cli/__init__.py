"""The `showtell` command: parse, call one library function, print."""
