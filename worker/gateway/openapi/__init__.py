"""The gateway's description of itself.

terms        what a route can be said to take and to answer
schemas      what comes in and goes out, as JSON Schema
operations   each route: what it takes, and each answer it can give
files        the same, and their schemas, of files
batches      and of batches
document     all of it as one OpenAPI document
page         the document for people
routes       where they are served
"""
