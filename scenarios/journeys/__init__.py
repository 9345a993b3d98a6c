"""Questions about users who behave, one a file, as data; what the users do is a locustfile in `locustfiles/`.

`mesh-lab run journeys_browse` asks `browse.py`. A locustfile knows nothing of the lab: `locust -f` runs it by hand.
"""
