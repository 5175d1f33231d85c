# Connecting to Exchange Online: app-only Connect-ExchangeOnline. The cmdlets beside Get-EXO* appear with the connection, as the
# real module imports them, and only those named in -CommandName.

$script:ConnectCmdlet = 'Connect-ExchangeOnline'
$script:SignInErrorId = ''
$script:SignInErrorCategory = 'OperationStopped'
$script:ExchangeResource = 'https://outlook.office365.com'

function Connect-Simulated($Caller, [string] $ParameterSet, [Collections.IDictionary] $Bound) {
    if (-not $Bound.ContainsKey('Organization')) { throw 'Only app-only connections are simulated: -AppId, -Organization and -Certificate.' }
    $certificate = Get-ConnectCertificate $Bound
    $token = if ($Bound.ContainsKey('AccessToken')) { $Bound.AccessToken } else { '' }
    $application = if ($Bound.ContainsKey('AppId')) { $Bound.AppId } else { '' }
    New-Connection 'ExchangeOnlineManagement' $Bound.Organization $application $script:ExchangeResource $certificate $token
    try { $answer = Send-Cmdlet 'Connect-ExchangeOnline' @{} }
    catch { Clear-Connection; throw }
    $script:Connection.TenantId = $answer.output[0].TenantID
    $script:Connection.Organization = $Bound.Organization
    $script:Connection.ConnectionId = [guid]::NewGuid().ToString()
    $wanted = if ($Bound.ContainsKey('CommandName')) { $Bound.CommandName } else { '*' }
    Import-Module (Join-Path $PSScriptRoot 'RestCmdlets.psm1') -ArgumentList $script:Connection -Function $wanted -Global -Force -DisableNameChecking
}

function Get-ConnectCertificate([Collections.IDictionary] $Bound) {
    if ($Bound.ContainsKey('Certificate')) { return $Bound.Certificate }
    if ($Bound.ContainsKey('CertificateFilePath')) {
        return [Security.Cryptography.X509Certificates.X509Certificate2]::new($Bound.CertificateFilePath, $Bound['CertificatePassword'], 'EphemeralKeySet')
    }
    return $null
}

function Disconnect-Simulated {
    Remove-Module RestCmdlets -ErrorAction SilentlyContinue
    Clear-Connection
}

function Get-SimulatedConnection($Caller) {
    if (-not $script:Connection.Client) { return }
    $expires = [DateTimeOffset]::FromUnixTimeSeconds([long] $script:Connection.ExpiresAt)
    $Caller.WriteObject([pscustomobject]@{
            ConnectionId = $script:Connection.ConnectionId; State = 'Connected'; Id = 1; Name = 'ExchangeOnline_1'; UserPrincipalName = $null
            ConnectionUri = 'https://outlook.office365.com'; TokenExpiryTimeUTC = $expires.UtcDateTime.ToString('yyyy-MM-ddTHH:mm:ssZ')
            TokenStatus = if ($expires -gt [DateTimeOffset]::UtcNow) { 'Active' } else { 'Expired' }
            CertificateAuthentication = [bool] $script:Connection.Certificate; ModuleName = 'RestCmdlets'; ModulePrefix = ''
            Organization = $script:Connection.Organization; DelegatedOrganization = $null; AppId = $script:Connection.ClientId; PageSize = 1000
            TenantID = $script:Connection.TenantId; ConnectionUsedForInbuiltCmdlets = $true; IsEopSession = $false
        })
}
