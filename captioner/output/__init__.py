"""What leaves the program: files, pages, lines."""
