"""What moves it: the Faust app, chunked consuming, and one agent per file."""
