# The inner side of one session: a process that holds one connection to one tenant and runs allow-listed cmdlets.
#
# Owns: reading requests (one JSON object a line on stdin), binding values as objects, asserting the tenant before every
# command, turning results and error records into frames (RS json LF on stdout).
# Refuses: text as code, a cmdlet or parameter that is not on the list given at connect, a second connection, another tenant.
# Secrets come over stdin only and are forgotten once connected.

Set-StrictMode -Version 3
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$InformationPreference = 'SilentlyContinue'
$WarningPreference = 'Continue'
$ConfirmPreference = 'None'
$env:POWERSHELL_TELEMETRY_OPTOUT = '1'

$DepthMax = 6
$ItemCountMax = 10000
$WarningCountMax = 50
$TextLengthMax = 4000
$AssertTimeoutMs = 60000
$StopGraceMs = 3000

$utf8 = [Text.UTF8Encoding]::new($false)
$reader = [IO.StreamReader]::new([Console]::OpenStandardInput(), $utf8)
$stdout = [Console]::OpenStandardOutput()

$session = @{
    Runspace     = $null
    Module       = $null
    TenantId     = $null
    Allowed      = @{}
}

function Write-Frame([hashtable] $Frame) {
    # The separator lets the gateway drop whatever a module printed before this frame.
    $json = ConvertTo-Json -InputObject $Frame -Depth 12 -Compress -EscapeHandling EscapeNonAscii
    $bytes = $utf8.GetBytes([char]0x1e + $json + "`n")
    $stdout.Write($bytes, 0, $bytes.Length)
    $stdout.Flush()
}

function ConvertFrom-Element([Text.Json.JsonElement] $Element) {
    # ConvertFrom-Json would turn text that looks like a date into a date.
    switch ($Element.ValueKind) {
        'String' { return $Element.GetString() }
        'True' { return $true }
        'False' { return $false }
        'Null' { return $null }
        'Number' {
            $whole = [long]0
            if (-not $Element.TryGetInt64([ref] $whole)) { return $Element.GetDouble() }
            if ($whole -ge [int]::MinValue -and $whole -le [int]::MaxValue) { return [int] $whole }
            return $whole
        }
        'Array' {
            $items = [Collections.Generic.List[object]]::new()
            $texts = $true
            foreach ($item in $Element.EnumerateArray()) {
                if ($item.ValueKind -ne 'String') { $texts = $false }
                $items.Add((ConvertFrom-Element $item))
            }
            if ($texts) { return , [string[]] $items.ToArray() }
            return , $items.ToArray()
        }
        'Object' {
            $map = @{}
            foreach ($property in $Element.EnumerateObject()) {
                $map[$property.Name] = ConvertFrom-Element $property.Value
            }
            return $map
        }
    }
    return $null
}

function ConvertTo-Plain($Value, [int] $Depth = 0) {
    # Live objects have cycles and script properties: only values, short lists and named properties leave this process.
    if ($null -eq $Value) { return $null }
    $inner = $Value
    if ($Value -is [psobject]) { $inner = $Value.PSObject.BaseObject }
    if ($inner -is [string] -or $inner -is [bool]) { return $inner }
    if ($inner -is [int] -or $inner -is [long] -or $inner -is [double] -or $inner -is [decimal] -or $inner -is [float]) {
        return $inner
    }
    if ($inner -is [datetime]) { return $inner.ToUniversalTime().ToString('o') }
    if ($inner -is [ValueType] -or $inner -is [uri] -or $inner -is [version]) { return $inner.ToString() }
    if ($Depth -ge $DepthMax) { return "$inner" }
    if ($inner -is [Collections.IDictionary]) {
        $map = @{}
        foreach ($key in @($inner.Keys)) { $map["$key"] = ConvertTo-Plain $inner[$key] ($Depth + 1) }
        return $map
    }
    if ($inner -is [Collections.IEnumerable]) {
        $items = [Collections.Generic.List[object]]::new()
        foreach ($item in $inner) {
            if ($items.Count -ge $ItemCountMax) { break }
            $items.Add((ConvertTo-Plain $item ($Depth + 1)))
        }
        return , $items.ToArray()
    }
    $map = @{}
    foreach ($property in $Value.PSObject.Properties) {
        if ($property.MemberType -band [Management.Automation.PSMemberTypes]::Properties) {
            try { $map[$property.Name] = ConvertTo-Plain $property.Value ($Depth + 1) } catch { $map[$property.Name] = $null }
        }
    }
    return $map
}

function Select-Plain($Value, $Names) {
    if ($null -eq $Names) { return , (ConvertTo-Plain $Value) }
    $map = @{}
    foreach ($name in $Names) {
        $property = $Value.PSObject.Properties[$name]
        $map[$name] = $null
        # Assigned directly: a list of one, or of none, would not survive a pipeline.
        if ($null -ne $property) { $map[$name] = ConvertTo-Plain $property.Value 1 }
    }
    return $map
}

function Limit-Text($Text) {
    $value = "$Text"
    if ($value.Length -gt $TextLengthMax) { return $value.Substring(0, $TextLengthMax) }
    return $value
}

function ConvertTo-ErrorFrame([Management.Automation.ErrorRecord] $Record) {
    $exception = $Record.Exception
    $frame = @{
        message  = Limit-Text $exception.Message
        type     = $exception.GetType().FullName
        fqid     = Limit-Text $Record.FullyQualifiedErrorId
        category = "$($Record.CategoryInfo.Category)"
        reason   = Limit-Text $Record.CategoryInfo.Reason
        target   = Limit-Text $Record.TargetObject
        details  = if ($Record.ErrorDetails) { Limit-Text $Record.ErrorDetails.Message } else { '' }
        cmdlet   = if ($Record.InvocationInfo -and $Record.InvocationInfo.MyCommand) { $Record.InvocationInfo.MyCommand.Name } else { '' }
    }
    $response = $exception.PSObject.Properties['Response']
    if ($response -and $response.Value) {
        $status = $response.Value.PSObject.Properties['StatusCode']
        if ($status -and $null -ne $status.Value) { $frame.http = [int] $status.Value }
        $headers = $response.Value.PSObject.Properties['Headers']
        if ($headers -and $headers.Value) {
            $wait = $headers.Value.PSObject.Properties['RetryAfter']
            if ($wait -and $wait.Value -and $wait.Value.Delta) { $frame.retry_after_seconds = $wait.Value.Delta.TotalSeconds }
        }
    }
    $status = $exception.Data['http']
    if ($null -ne $status) { $frame.http = [int] $status }
    $wait = $exception.Data['retry_after_seconds']
    if ($null -ne $wait) { $frame.retry_after_seconds = [double] $wait }
    return $frame
}

function New-HostError([string] $Id, [string] $Message, [string] $Category = 'InvalidOperation') {
    return @{ message = $Message; type = ''; fqid = $Id; category = $Category; reason = ''; target = ''; details = ''; cmdlet = '' }
}

function Invoke-Bound([string] $Name, [hashtable] $Parameters, [int] $TimeoutMs) {
    # Runs one command in the session's runspace. Names come from the list, values are bound as objects: nothing is parsed.
    $shell = [powershell]::Create()
    $shell.Runspace = $session.Runspace
    try {
        [void] $shell.AddCommand($Name)
        foreach ($key in $Parameters.Keys) { [void] $shell.AddParameter($key, $Parameters[$key]) }
        if (-not $Parameters.ContainsKey('ErrorAction')) { [void] $shell.AddParameter('ErrorAction', 'Stop') }
        $output = [Management.Automation.PSDataCollection[psobject]]::new()
        $nothing = [Management.Automation.PSDataCollection[psobject]]::new()
        $nothing.Complete()
        $failure = $null
        $pending = $shell.BeginInvoke($nothing, $output)
        if (-not $pending.AsyncWaitHandle.WaitOne($TimeoutMs)) {
            $stopping = $shell.BeginStop($null, $null)
            # A module that ignores the stop leaves this unanswered; the gateway then kills the process group.
            while (-not $stopping.AsyncWaitHandle.WaitOne($StopGraceMs)) { }
            $failure = New-HostError 'UcmeshTimeout' "$Name did not finish within $TimeoutMs ms" 'OperationTimeout'
        }
        else {
            try { [void] $shell.EndInvoke($pending) }
            catch {
                $record = $_
                $inner = $_.Exception.InnerException
                if ($inner -is [Management.Automation.IContainsErrorRecord]) { $record = $inner.ErrorRecord }
                $failure = ConvertTo-ErrorFrame $record
            }
            if ($null -eq $failure -and $shell.Streams.Error.Count -gt 0) {
                $failure = ConvertTo-ErrorFrame $shell.Streams.Error[0]
            }
        }
        $warnings = @($shell.Streams.Warning | Select-Object -First $WarningCountMax | ForEach-Object { Limit-Text $_.Message })
        return @{ Output = @($output); Error = $failure; Warnings = $warnings }
    }
    finally { $shell.Dispose() }
}

function Get-ConnectedTenant([int] $TimeoutMs) {
    # The tenant this process acts on right now; $null when it cannot be told.
    if ($session.Module -eq 'MicrosoftTeams') {
        $answer = Invoke-Bound 'Get-CsTenant' @{} $TimeoutMs
        if ($answer.Error) { return $answer }
        $property = if ($answer.Output.Count -eq 1) { $answer.Output[0].PSObject.Properties['TenantId'] } else { $null }
    }
    else {
        $answer = Invoke-Bound 'Get-ConnectionInformation' @{} $TimeoutMs
        if ($answer.Error) { return $answer }
        # Exchange cmdlets use the latest of several connections, so exactly one may be there.
        $property = if ($answer.Output.Count -eq 1) { $answer.Output[0].PSObject.Properties['TenantID'] } else { $null }
        $state = if ($answer.Output.Count -eq 1) { $answer.Output[0].PSObject.Properties['State'] } else { $null }
        if ($state -and "$($state.Value)" -ne 'Connected') {
            $answer.Error = New-HostError 'UcmeshNotConnected' "session is not valid: the connection is $($state.Value)" 'ConnectionError'
            return $answer
        }
    }
    $answer.Tenant = if ($property -and $property.Value) { "$($property.Value)".ToLowerInvariant() } else { '' }
    return $answer
}

function Connect-Session([hashtable] $Request) {
    if ($null -ne $session.Runspace) { return @{ ok = $false; error = New-HostError 'UcmeshNotAllowed' 'this process is connected already' } }
    $session.Module = $Request.module
    $session.TenantId = $Request.tenant_id.ToLowerInvariant()
    $session.Allowed = $Request.allow
    $session.Runspace = [runspacefactory]::CreateRunspace()
    $session.Runspace.ThreadOptions = 'ReuseThread'
    $session.Runspace.Open()
    $session.Runspace.SessionStateProxy.SetVariable('ProgressPreference', 'SilentlyContinue')
    $session.Runspace.SessionStateProxy.SetVariable('ConfirmPreference', 'None')
    $certificate = $null
    try {
        $imported = Invoke-Bound 'Import-Module' @{ Name = $session.Module; PassThru = $true } 120000
        if ($imported.Error) { return @{ ok = $false; error = $imported.Error } }
        $flags = [Security.Cryptography.X509Certificates.X509KeyStorageFlags]::EphemeralKeySet
        $bytes = [Convert]::FromBase64String($Request.pfx)
        $certificate = [Security.Cryptography.X509Certificates.X509Certificate2]::new($bytes, $Request.password, $flags)
        [Array]::Clear($bytes, 0, $bytes.Length)
        $command, $parameters = Get-ConnectCall $Request $certificate
        $connected = Invoke-Bound $command $parameters 300000
    }
    finally {
        $Request.pfx = $null
        $Request.password = $null
    }
    if ($connected.Error) { return @{ ok = $false; error = $connected.Error } }
    $seen = Get-ConnectedTenant $AssertTimeoutMs
    if ($seen.Error) { return @{ ok = $false; error = $seen.Error } }
    return @{ ok = $true; output = @{ tenant_id = $seen.Tenant }; module_version = "$($imported.Output[-1].Version)" }
}

function Get-ConnectCall([hashtable] $Request, $Certificate) {
    if ($session.Module -eq 'MicrosoftTeams') {
        $parameters = @{ TenantId = $Request.tenant_id; ApplicationId = $Request.client_id; Certificate = $Certificate }
        $environments = @{ 'gcc-high' = 'TeamsGCCH'; 'dod' = 'TeamsDOD'; 'china' = 'TeamsChina' }
        if ($environments.ContainsKey($Request.cloud)) { $parameters.TeamsEnvironmentName = $environments[$Request.cloud] }
        return 'Connect-MicrosoftTeams', $parameters
    }
    $parameters = @{
        AppId                 = $Request.client_id
        Organization          = $Request.organization
        Certificate           = $Certificate
        ShowBanner            = $false
        SkipLoadingFormatData = $true
        CommandName           = [string[]] @($session.Allowed.Keys | Where-Object { $_ -notlike 'Get-EXO*' -and $_ -ne 'Get-ConnectionInformation' })
    }
    $environments = @{ 'gcc-high' = 'O365USGovGCCHigh'; 'dod' = 'O365USGovDoD'; 'china' = 'O365China' }
    if ($environments.ContainsKey($Request.cloud)) { $parameters.ExchangeEnvironmentName = $environments[$Request.cloud] }
    return 'Connect-ExchangeOnline', $parameters
}

function Invoke-Request([hashtable] $Request) {
    if ($null -eq $session.Runspace) { return @{ ok = $false; error = New-HostError 'UcmeshNotConnected' 'session is not valid: not connected' } }
    $name = $Request.cmdlet
    if (-not $session.Allowed.ContainsKey($name)) {
        return @{ ok = $false; error = New-HostError 'UcmeshNotAllowed' "$name is not on the list of this session" }
    }
    foreach ($key in $Request.params.Keys) {
        if ($session.Allowed[$name] -notcontains $key) {
            return @{ ok = $false; error = New-HostError 'UcmeshNotAllowed' "$name -$key is not on the list of this session" }
        }
    }
    $wanted = $Request.assert_tenant.ToLowerInvariant()
    $seen = Get-ConnectedTenant ([Math]::Min($AssertTimeoutMs, $Request.timeout_ms))
    if ($seen.Error) { return @{ ok = $false; error = $seen.Error } }
    if ($seen.Tenant -ne $wanted -or $session.TenantId -ne $wanted) {
        return @{
            ok = $false; tenant_id = $seen.Tenant
            error = New-HostError 'UcmeshTenantMismatch' "connected to tenant '$($seen.Tenant)', not to '$wanted'" 'SecurityError'
        }
    }
    $answer = Invoke-Bound $name $Request.params $Request.timeout_ms
    $reply = @{ tenant_id = $seen.Tenant; warnings = $answer.Warnings }
    if ($answer.Error) {
        if (-not $answer.Error.cmdlet) { $answer.Error.cmdlet = $name }
        return $reply + @{ ok = $false; error = $answer.Error }
    }
    $select = if ($Request.ContainsKey('select')) { $Request.select } else { $null }
    $output = [Collections.Generic.List[object]]::new()
    foreach ($item in $answer.Output) {
        if ($output.Count -ge $ItemCountMax) { break }
        if ($null -ne $item) { $output.Add((Select-Plain $item $select)) }
    }
    return $reply + @{ ok = $true; output = $output.ToArray() }
}

while ($null -ne ($line = $reader.ReadLine())) {
    if (-not $line.Trim()) { continue }
    $id = ''
    $watch = [Diagnostics.Stopwatch]::StartNew()
    try {
        $document = [Text.Json.JsonDocument]::Parse($line)
        $request = ConvertFrom-Element $document.RootElement
        $document.Dispose()
        $line = $null
        $id = "$($request.id)"
        switch ($request.op) {
            'connect' { $reply = Connect-Session $request }
            'invoke' { $reply = Invoke-Request $request }
            'exit' { exit 0 }
            default { $reply = @{ ok = $false; error = New-HostError 'UcmeshNotAllowed' "unknown op '$($request.op)'" } }
        }
    }
    catch {
        $reply = @{ ok = $false; error = ConvertTo-ErrorFrame $_ }
    }
    $reply.id = $id
    $reply.duration_ms = [int] $watch.ElapsedMilliseconds
    Write-Frame $reply
}
