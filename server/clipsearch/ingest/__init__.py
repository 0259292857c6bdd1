"""Catalogues in: a directory, a table, tar shards or ready vectors, brought into a server's collection and kept there.

A *source* (``source.open_source``) yields *records*: an item's id, its pictures by reference, its metadata. A *pass*
(``run.Ingest``) compares each with the *state* (``state.State``), a file that holds what the server has acknowledged,
reads or downloads the pictures of those that are new or changed (``loading``), writes them in batches (``sending``) and
notes the answers. Nothing is claimed that was not answered, so a run may be killed anywhere and started again; before
the state is believed, it is compared with the server (``agreement``), whose collection somebody else may have changed.

Everything here is a caller of ``clipsearch.client``: it needs no part of the server. Memory is bounded by what is under
way, whatever the size of the source.
"""
