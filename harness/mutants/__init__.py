# SPDX-License-Identifier: GPL-2.0-only
"""Faults for changed lines, and a way to put all faults of a file into one kernel.

Everything here is a function from text to text: no file is read, and nothing is built.
"""
