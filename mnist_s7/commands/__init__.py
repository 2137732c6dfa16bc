"""What each command of the command line does: a module for each, its options and what becomes of them.

May import every room. Open `train` first, a short one; `options` has what several of them share.
"""
