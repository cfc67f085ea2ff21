"""From a file to pictures and their seconds."""

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in the grey of a picture
