"""The Faust app and the services that every agent shares."""
