"""OpenAI's Responses API: a response is a job.

parameters   which parameters there are, and what a response repeats of them
translation  a request as a chat-completions body
messages     the input's items as messages
numbers      ids, and the sequence numbers of events
items        what an attempt has opened, as output items
events       a job's events as a response's
document     a job as a response
inputs       the input as items again
routes       the endpoints
"""
