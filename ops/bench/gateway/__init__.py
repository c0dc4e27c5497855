"""What the gateway costs: readers by the thousand, and chats beside LiteLLM's proxy."""
