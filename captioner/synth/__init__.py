"""Synthetic clips of people whose action units are known, and their captions in the manner of MAFW or EmVidCap.

Two makers. `clips` draws faces in short scenes (scripts/make_drawn.py); `maker` films stories with animated photos
or drawn faces as actors (scripts/make_clips.py).

who is seen       identity (Face, State), paint and pen (the drawn face), photos (a folder of faces), actor and
                  actors (what a camera can film), cast (who plays in which clip)
animated photos   basis (action units as motion), skin, mesh, puppet, features, shade (face), outline, portrait, body
                  (head and shoulders), colour (for grey photos)
what happens      scenario (scenes of the drawn face); plot, motion, camera, story (stories of any length)
the film          stage (frames), backdrop, grade (light and damage)
what is said      captions (of scenes); grammar and words (of stories)
on disk           clips and drawn (scenes); maker, check and teacher (does it show?), labels, gallery; jobs (both)
"""
