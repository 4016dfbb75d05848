"""What pages say of tables, in sentences and small tables whose every number is looked up.

Begin with `reports`, which most pages use; `substitutions` collects what the prose takes from the committed results.
"""
