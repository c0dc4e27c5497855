"""OpenAI's chat completions, over a job.

routes   the endpoint: queue, then answer when the job has ended, or while it streams
chunks   the job's events as completion chunks
"""
