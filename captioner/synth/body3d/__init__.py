"""Three-dimensional people of the package `anny`, drawn by OpenGL: faces whose action units are known (synthetic).

Optional: `pip install captioner[renders]`, and a driver of OpenGL without a screen (Debian: libegl1, libgl1-mesa-dri).
"""
