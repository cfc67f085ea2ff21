"""The manual page and the shell completions of `caption`, which an installation puts where shells look for them."""
