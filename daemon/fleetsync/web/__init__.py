"""What a person's own programs may ask of the running daemon: status and commands, on this machine only."""
