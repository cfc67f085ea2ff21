"""Synthetic clips of people whose action units are known, and their captions in the style of MAFW or EmVidCap.

`maker` films stories with animated photos or drawn faces as actors (scripts/make_clips.py).

story/   what happens: plot, motion, camera, tale (stories of any length); what is said of it: grammar and words
film/    how it looks: stage (frames), backdrop, grade (light and damage)
photo/   animated photos: photo_set (a folder of faces), basis (action units as motion), learn_basis, skin, mesh,
         puppet, features, shade (face), outline, portrait, body (head and shoulders), colour (for grey photos)
body3d/  people of the package anny, drawn by OpenGL: pictures that teach the experts
drawn/   the drawn face: strokes (its pen) and paint
body3d/  three-dimensional people, who teach the experts and play in no clip yet
who      identity (Face, State), actor and actors (what a camera can film), cast (who plays in which clip)
beside   living_portrait (the portrait of examples/), pixels (brightness, noise)
on disk  options, maker, check and teacher (does it show?), labels, gallery, survey (numbers), workers (processes)
"""
