"""Models of other libraries: conversion to fastnn, with weights and architecture at once, and back.

May import `layers`, `weights`, `nets` and the modules below them. The other libraries are imported when a
function needs them.
"""
