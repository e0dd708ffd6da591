"""Declares settings: one attrs field gives the flag, the keyword, the range, the help text and the error.

Every function takes the class that declares them. ``grape.config`` holds the settings of a grape, ``grape.tap`` makes
flags and help of them, ``grape.service`` takes them as keywords.
"""
