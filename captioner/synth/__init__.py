"""Synthetic clips whose action units are known, and their captions in the manner of MAFW.

identity   who is drawn (Face) and how it looks at one instant (State)
paint      draw(face, state, size): one picture
scenario   what happens in a clip: action units over time, actions, pose
captions   the sentences that are true of a scenario
drawn      stills and clips on disk: the entry point of the drawn face
"""
