/* SPDX-License-Identifier: GPL-2.0-only */
#define FOO_LIMIT 3
