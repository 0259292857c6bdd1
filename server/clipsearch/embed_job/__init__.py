"""Bulk embedding into a file, which an interruption at any moment only pauses.

    source ─► loading (files, URLs, ahead) ─► engine (StreamEmbed, or a model in process) ─► writer ─► output

Everything streams, in the order of the source; nothing of the size of the input is held. The writer appends to plain
files in ``OUT.partial/`` and notes every second or two, after a flush to the disk, how much of them counts: so many
items of the source taken, so many rows, so many bytes. A run that finds such a directory cuts the files back to what
is noted and goes on behind it. Only at the end does ``OUT`` get its name, in one step.

The alternative, finished part files that are joined at the end, makes what an interruption loses a matter of the
parts' size, and the layout of the result a matter of where it was interrupted.

What was taken must be what the source still begins with: the note holds a digest of the items' ids and contents, and a
run that does not find the same ones refuses to go on. What comes after may have changed or grown, because none of it
has been used: the result is that of an uninterrupted run over the source as it is now.
"""
