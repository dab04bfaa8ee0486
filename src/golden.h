/* golden.h - digests of `metavar check --golden`: change them only when the bits change on purpose, with the reason in the commit. */
{"bandit", "backprop", "32bde6f778accf3bf9e22fbdea932246"},
{"bandit", "es", "853d6dd0604121f3920f7cf60c880c86"},
{"bandit", "fd", "3e940b9dced378b27feb59deb4a035f0"},
{"bandit", "reference", "cca56df2316a0ce408823c81f97949ac"},
{"tree_bandit", "backprop", "ac5db2c595e59680a8df7a778315b7b8"},
{"tree_bandit", "es", "11b53cffd6d2003db8a4c8d30fbd0d50"},
{"tree_bandit", "fd", "4bc617e1f316398d6f8406e17c87be47"},
{"tree_bandit", "reference", "f76b682e450a2d972afbeff755627ad4"},
