"""The HTTP gateway: OpenAI's own clients as clients, and live readers by the thousand.

app         routes, what a gateway consists of, and its life
serving     uvicorn, and who may reach it without a key
answers     JSON, and the header that names the job
refusals    every error as a status and one JSON shape
body        what comes in: limits, and whose request it is
sse         server-sent events in bytes
relay       one follower a job, however many readers
stream      a response that goes on: heartbeats, slow readers, readers that go away
jobs        the native API
queueing    what OpenAI's clients ask for, as a job
chat        OpenAI's chat completions
responses   OpenAI's Responses API
models      which models there are
openapi     the gateway's description of itself
failures    a failed job as an OpenAI error
abandonment what becomes of a job whose client has gone
events      a job's events, or several jobs', as server-sent events
listing     how long a page of a list is
health      what works, what does not, and why
"""
