"""The gateway's description of itself.

schemas      what comes in and goes out, as JSON Schema
operations   each route: what it takes, and each answer it can give
document     both as one OpenAPI document
page         the document for people
routes       where they are served
"""
