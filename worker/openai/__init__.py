"""OpenAI's documents: what its clients send and read, as jobs and from jobs.

completion  an ended job as a chat completion
failure     a job that failed, as a status and an error
responses   the Responses API: requests as chats, jobs as responses
"""
