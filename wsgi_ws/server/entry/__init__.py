# SPDX-License-Identifier: Apache-2.0
"""What `wsgi-ws serve` gives to gunicorn: a program to run, its settings and the application.

gunicorn is given the files and the module by name, so nothing imports them.
"""
