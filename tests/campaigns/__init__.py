"""Campaigns: many seeded ways of failing that users meet, each tried by a real command, each told as one outcome.

`python -m tests.campaigns.NAME --minutes N` tries for so long, `--tries N` so often; both repeat with `--seed`. A
campaign is a generator of `Try`, which `campaign.main` runs, counts and writes down.
"""
