"""Everything the graph adapter does, one use case a file.

accept_operations     take commands in, into the tray of this process or the queue; answer again what is done already
lease_operations      pick the next operations, fairly over tenants
run_operations        carry the leased operations of one tenant out, in rounds of `$batch`
hold_leases           keep what a living worker works at
recover_operations    give operations back to the queue: of vanished workers, of failed runs, of a tray at its end
measure_queue         how long work waits for a worker
purge_operations      forget what finished long ago
keep_credentials      take delivered credentials in, sealed
activate_credentials  switch a tenant to another credential
list_operations       show operations to an operator
show_capabilities     what an app registration may do
reload_templates      the operation templates in use: replace the operation templates by those on disk
"""
