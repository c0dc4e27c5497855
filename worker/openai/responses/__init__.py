"""The Responses API's documents.

parameters   which there are, and which a chat cannot serve
translation  a request as a chat-completions body
messages     input items as chat messages
items        what an attempt said, as output items
document     a job as a response
numbers      ids, and sequence numbers of events
"""
