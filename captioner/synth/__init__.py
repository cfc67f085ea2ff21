"""Synthetic clips whose action units are known, and their captions in the manner of MAFW.

identity   who is drawn (Face) and how it looks at one instant (State)
pen        curves on a head that turns
paint      draw(face, state, size): one picture
scenario   what happens in a clip: action units over time, actions, pose
captions   the sentences that are true of a scenario
clips      mp4 files and their manifest
drawn      stills and clips of the drawn face: the names to import
"""
