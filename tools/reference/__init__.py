# SPDX-License-Identifier: GPL-2.0-only
"""The reference that is made from the program itself: its commands, and the schemas of its files.

``python -m tools.reference`` writes ``docs/reference/``; a test keeps that true.
"""
