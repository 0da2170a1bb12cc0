# SPDX-License-Identifier: GPL-2.0-only
"""The values that all rooms speak in; they do nothing."""
