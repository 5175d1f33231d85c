# How a stub cmdlet reaches the simulator: token by client assertion, one POST per call, error records rebuilt from the answer.
#
# Owns: the one connection of this process ($script:Connection; connecting again replaces it), its token and the renewal of it.
# Refuses: plain http, anything when not connected.
# Environment: UCMESH_SIMULATOR_URL (https base), UCMESH_SIMULATOR_CA (PEM file with the CA of that base).

Set-StrictMode -Version 3

$script:RenewBeforeSeconds = 300
$script:HttpSecondsMax = 900
$script:Common = @(
    'Verbose', 'Debug', 'ErrorAction', 'WarningAction', 'InformationAction', 'ProgressAction', 'ErrorVariable', 'WarningVariable',
    'InformationVariable', 'OutVariable', 'OutBuffer', 'PipelineVariable'
)

function New-Client {
    $base = $env:UCMESH_SIMULATOR_URL
    if (-not $base -or -not $base.StartsWith('https://')) { throw 'UCMESH_SIMULATOR_URL must hold the https base of the simulator.' }
    $handler = [Net.Http.SocketsHttpHandler]::new()
    if ($env:UCMESH_SIMULATOR_CA) {
        $policy = [Security.Cryptography.X509Certificates.X509ChainPolicy]::new()
        $policy.TrustMode = 'CustomRootTrust'
        $policy.RevocationMode = 'NoCheck'
        $pem = [Security.Cryptography.X509Certificates.X509Certificate2Collection]::new()
        $pem.ImportFromPemFile($env:UCMESH_SIMULATOR_CA)
        $policy.CustomTrustStore.AddRange($pem)
        $handler.SslOptions.CertificateChainPolicy = $policy
    }
    $client = [Net.Http.HttpClient]::new($handler)
    $client.Timeout = [TimeSpan]::FromSeconds($script:HttpSecondsMax)
    $client.BaseAddress = [uri] ($base.TrimEnd('/') + '/')
    return $client
}

function ConvertTo-Base64Url([byte[]] $Bytes) { [Convert]::ToBase64String($Bytes).TrimEnd('=').Replace('+', '-').Replace('/', '_') }

function New-Assertion([string] $ClientId, [string] $Audience, $Certificate) {
    $now = [DateTimeOffset]::UtcNow.ToUnixTimeSeconds()
    $thumbprint = $Certificate.GetCertHash([Security.Cryptography.HashAlgorithmName]::SHA256)
    $header = @{ alg = 'PS256'; typ = 'JWT'; 'x5t#S256' = ConvertTo-Base64Url $thumbprint }
    $claims = @{ aud = $Audience; iss = $ClientId; sub = $ClientId; jti = [guid]::NewGuid().ToString(); nbf = $now; iat = $now; exp = $now + 600 }
    $parts = foreach ($part in $header, $claims) { ConvertTo-Base64Url ([Text.Encoding]::UTF8.GetBytes((ConvertTo-Json $part -Compress))) }
    $signed = $parts -join '.'
    $key = [Security.Cryptography.X509Certificates.RSACertificateExtensions]::GetRSAPrivateKey($Certificate)
    $signature = $key.SignData(
        [Text.Encoding]::ASCII.GetBytes($signed), [Security.Cryptography.HashAlgorithmName]::SHA256,
        [Security.Cryptography.RSASignaturePadding]::Pss)
    return "$signed.$(ConvertTo-Base64Url $signature)"
}

function Send-Request([Net.Http.HttpRequestMessage] $Request) {
    # Answers @{ Status; Text }; a connection that breaks is one error record for both modules.
    try {
        $response = $script:Connection.Client.Send($Request)
        $stream = [IO.StreamReader]::new($response.Content.ReadAsStream())
        return @{ Status = [int] $response.StatusCode; Text = $stream.ReadToEnd() }
    }
    catch {
        $fault = @{
            message = 'An error occurred while sending the request.'; exception_type = 'System.Net.Http.HttpRequestException'
            fqid = 'System.Net.Http.HttpRequestException'; category = 'ConnectionError'; reason = 'HttpRequestException'
        }
        throw (New-Record $fault)
    }
}

function Get-Token([switch] $Renew) {
    # The cached token while it has some minutes left; a session that was given a token cannot renew it.
    $connection = $script:Connection
    $now = [DateTimeOffset]::UtcNow.ToUnixTimeSeconds()
    if ($connection.Token -and -not $Renew -and $connection.ExpiresAt - $script:RenewBeforeSeconds -gt $now) { return $connection.Token }
    if (-not $connection.Certificate) { return $connection.Token }
    $path = "$($connection.TenantName)/oauth2/v2.0/token"
    $form = [Collections.Generic.Dictionary[string, string]]::new()
    $form['client_id'] = $connection.ClientId
    $form['scope'] = "$($connection.Resource)/.default"
    $form['grant_type'] = 'client_credentials'
    $form['client_assertion_type'] = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
    $audience = [uri]::new($connection.Client.BaseAddress, $path).AbsoluteUri
    $form['client_assertion'] = New-Assertion $connection.ClientId $audience $connection.Certificate
    $request = [Net.Http.HttpRequestMessage]::new('Post', $path)
    $request.Content = [Net.Http.FormUrlEncodedContent]::new($form)
    $answer = Send-Request $request
    $body = if ($answer.Text) { ConvertFrom-Json $answer.Text -AsHashtable } else { @{} }
    if ($answer.Status -ne 200) { throw (New-SignInRecord $body $answer.Status) }
    $connection.Token = $body.access_token
    $connection.ExpiresAt = $now + $body.expires_in
    return $connection.Token
}

function New-SignInRecord([hashtable] $Body, [int] $Status) {
    $message = if ($Body.ContainsKey('error_description')) { $Body.error_description } else { "The token service answered $Status." }
    $fault = @{
        message = $message; exception_type = 'Microsoft.Identity.Client.MsalServiceException'; reason = 'MsalServiceException'; http = $Status
        fqid = $script:SignInErrorId; category = $script:SignInErrorCategory
    }
    if (-not $fault.fqid) { $fault.fqid = $message }
    return New-Record $fault
}

function Get-ExceptionType([string] $Name) {
    # The documented exception classes live in assemblies nobody has here: the simulator makes them up as it needs them.
    $known = $Name -as [type]
    if ($known -and $known.GetConstructor([type[]] @([string]))) { return $known }
    if (-not $script:Types.ContainsKey($Name)) {
        if (-not $script:TypeModule) {
            $assembly = [Reflection.Emit.AssemblyBuilder]::DefineDynamicAssembly(
                [Reflection.AssemblyName] 'Ucmesh.Simulated.Exceptions', [Reflection.Emit.AssemblyBuilderAccess]::Run)
            $script:TypeModule = $assembly.DefineDynamicModule('Exceptions')
        }
        $type = $script:TypeModule.DefineType($Name, [Reflection.TypeAttributes] 'Public, Class', [Exception])
        $constructor = $type.DefineConstructor(
            [Reflection.MethodAttributes]::Public, [Reflection.CallingConventions]::HasThis, [type[]] @([string]))
        $code = $constructor.GetILGenerator()
        $code.Emit([Reflection.Emit.OpCodes]::Ldarg_0)
        $code.Emit([Reflection.Emit.OpCodes]::Ldarg_1)
        $code.Emit([Reflection.Emit.OpCodes]::Call, [Exception].GetConstructor([type[]] @([string])))
        $code.Emit([Reflection.Emit.OpCodes]::Ret)
        $script:Types[$Name] = $type.CreateType()
    }
    return $script:Types[$Name]
}

function New-Record([hashtable] $Fault) {
    $exception = (Get-ExceptionType $Fault.exception_type)::new($Fault.message)
    if ($null -ne $Fault['http']) { $exception.Data['http'] = [int] $Fault.http }
    if ($null -ne $Fault['retry_after_seconds']) { $exception.Data['retry_after_seconds'] = [double] $Fault.retry_after_seconds }
    $target = if ($Fault['target']) { $Fault.target } else { $null }
    $record = [Management.Automation.ErrorRecord]::new($exception, $Fault.fqid, $Fault.category, $target)
    if ($Fault['reason']) { $record.CategoryInfo.Reason = $Fault.reason }
    if ($Fault['activity']) { $record.CategoryInfo.Activity = $Fault.activity }
    if ($Fault['details']) { $record.ErrorDetails = [Management.Automation.ErrorDetails]::new($Fault.details) }
    return $record
}

function Write-ErrorMessage {
    # The Exchange module's own way: the record's id ends with this function's name.
    [CmdletBinding()] param($Record)
    $PSCmdlet.WriteError($Record)
}

function ConvertTo-Wire($Value) {
    if ($null -eq $Value) { return $null }
    if ($Value -is [switch]) { return $Value.IsPresent }
    if ($Value -is [string] -or $Value -is [bool] -or $Value -is [ValueType] -and $Value -isnot [guid] -and $Value -isnot [datetime] -and $Value -isnot [enum]) {
        return $Value
    }
    if ($Value -is [datetime]) { return $Value.ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ssZ') }
    if ($Value -is [Collections.IDictionary]) {
        $map = @{}
        foreach ($key in $Value.Keys) { $map["$key"] = ConvertTo-Wire $Value[$key] }
        return $map
    }
    if ($Value -is [securestring] -or $Value -is [pscredential] -or $Value -is [Security.Cryptography.X509Certificates.X509Certificate2]) { return '***' }
    if ($Value -is [Collections.IEnumerable]) { return , @(foreach ($item in $Value) { ConvertTo-Wire $item }) }
    return "$Value"
}

function ConvertFrom-Wire([string] $Text) {
    # Text that looks like a date stays text where PowerShell can be told so.
    if ($PSVersionTable.PSVersion -ge [version] '7.5') { return ConvertFrom-Json $Text -DateKind String }
    return ConvertFrom-Json $Text
}

function Send-Cmdlet([string] $Cmdlet, [hashtable] $Parameters) {
    # The answer as an object, or a thrown error record. A refused token is renewed once.
    $body = ConvertTo-Json @{ parameters = $Parameters } -Depth 10 -Compress
    foreach ($renew in $false, $true) {
        $request = [Net.Http.HttpRequestMessage]::new('Post', "powershell/$($script:Connection.Module)/$Cmdlet")
        $request.Headers.Authorization = [Net.Http.Headers.AuthenticationHeaderValue]::new('Bearer', (Get-Token -Renew:$renew))
        $request.Content = [Net.Http.StringContent]::new($body, [Text.Encoding]::UTF8, 'application/json')
        $answer = Send-Request $request
        if ($answer.Status -ne 401 -or -not $script:Connection.Certificate) { break }
    }
    if ($answer.Status -eq 200) { return ConvertFrom-Wire $answer.Text }
    $fault = (ConvertFrom-Json $answer.Text -AsHashtable).error
    throw (New-Record $fault)
}

function Invoke-SimulatedCmdlet($Caller, [string] $Cmdlet, [Collections.IDictionary] $Bound) {
    if (-not $script:Connection.Client) {
        $fault = @{
            message = "You must call the $($script:ConnectCmdlet) cmdlet before calling any other cmdlets."; fqid = 'NotConnected'
            exception_type = 'System.UnauthorizedAccessException'; category = 'ConnectionError'; reason = 'UnauthorizedAccessException'
        }
        throw (New-Record $fault)
    }
    $parameters = @{}
    foreach ($name in $Bound.Keys) { if ($name -notin $script:Common) { $parameters[$name] = ConvertTo-Wire $Bound[$name] } }
    try { $answer = Send-Cmdlet $Cmdlet $parameters }
    catch {
        $record = $_
        if ($record.FullyQualifiedErrorId.EndsWith(',Write-ErrorMessage')) {
            $inner = [Management.Automation.ErrorRecord]::new(
                $record.Exception, $record.FullyQualifiedErrorId.Substring(0, $record.FullyQualifiedErrorId.Length - ',Write-ErrorMessage'.Length),
                $record.CategoryInfo.Category, $record.TargetObject)
            $inner.CategoryInfo.Reason = $record.CategoryInfo.Reason
            $inner.CategoryInfo.Activity = $Cmdlet
            Write-ErrorMessage $inner
            return
        }
        throw
    }
    foreach ($warning in $answer.warnings) { $Caller.WriteWarning($warning) }
    foreach ($item in $answer.output) { $Caller.WriteObject($item) }
}

function New-Connection([string] $Module, [string] $TenantName, [string] $ClientId, [string] $Resource, $Certificate, [string] $Token) {
    # A hashtable on purpose: the Exchange module shares it with the cmdlets it imports at connect.
    $script:Connection.Client = New-Client
    $script:Connection.Module = $Module
    $script:Connection.TenantName = $TenantName
    $script:Connection.ClientId = $ClientId
    $script:Connection.Resource = $Resource
    $script:Connection.Certificate = $Certificate
    $script:Connection.Token = $Token
    $script:Connection.ExpiresAt = 0
}

function Clear-Connection {
    if ($script:Connection.Client) { $script:Connection.Client.Dispose() }
    foreach ($key in @($script:Connection.Keys)) { $script:Connection[$key] = $null }
}

$script:Types = @{}
$script:TypeModule = $null
if (-not (Test-Path variable:script:Connection)) {
    $script:Connection = @{
        Client = $null; Module = $null; TenantName = $null; ClientId = $null; Resource = $null; Certificate = $null; Token = $null; ExpiresAt = 0
        TenantId = $null; Organization = $null; ConnectionId = $null
    }
}
