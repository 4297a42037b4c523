"""What passes between the processes of a server."""
