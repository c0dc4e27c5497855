"""A job's live event log: published by its holder, followed by any number of readers.

events (the wire contract) ; log and append.lua (Redis) ; feed -> publisher (the holder's side) ;
hub, inquiry, replay -> follow (a reader's side)
"""
