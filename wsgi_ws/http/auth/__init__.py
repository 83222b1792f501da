# SPDX-License-Identifier: Apache-2.0
"""Who asks? From the `Cookie` header to the identity that its token gives.

`cookies` finds the tokens, `authenticator` knows who has signed them, `claims` whom they admit.
"""
