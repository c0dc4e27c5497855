"""OpenAI's files: uploaded in a stream, listed, read in a stream, removed.

form       an upload's fields and its file, while they come
incoming   an upload's body in pieces, and the last word to who is not heard to the end
routes     what the paths do
"""
