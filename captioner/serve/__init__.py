"""`caption --serve`: a web app and an interface for programs, on this machine; extra `[serve]`."""
