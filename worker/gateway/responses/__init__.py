"""OpenAI's Responses API: a response is a job.

events   a job's events as a response's
inputs   the input as items again
routes   the endpoints
"""
