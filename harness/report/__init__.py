# SPDX-License-Identifier: GPL-2.0-only
"""What a person or a CI system gets to see: one module per format, pure functions of Results."""
