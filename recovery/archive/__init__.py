"""The archive: a folder that keeps topics beyond their retention."""
