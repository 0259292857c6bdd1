"""``clipsearch ui``: a shop's search page in the browser, which talks to the server as any other client does.

It imports the client and nothing of the server's inside. ``command`` starts it; ``page`` is the script that Streamlit
runs for each visitor and each of their clicks; ``searching`` and ``managing`` are its two views. What decides something
(``query``, ``condition``, ``roles``, ``messages``, ``pictures``) knows nothing of Streamlit and is tested by itself.
"""
