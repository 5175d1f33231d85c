# Connecting to Teams: the app-only ways of Connect-MicrosoftTeams. Sign-in of a person is not simulated.

$script:ConnectCmdlet = 'Connect-MicrosoftTeams'
$script:SignInErrorId = 'Connect-MicrosoftTeams,Microsoft.TeamsCmdlets.Powershell.Connect.ConnectMicrosoftTeams'
$script:SignInErrorCategory = 'AuthenticationError'
$script:TeamsResource = '48ac35b8-9aa8-4d74-927d-1f4a14a0b239'

function Connect-Simulated($Caller, [string] $ParameterSet, [Collections.IDictionary] $Bound) {
    switch ($ParameterSet) {
        'ServicePrincipalCertificate' {
            New-Connection 'MicrosoftTeams' $Bound.TenantId $Bound.ApplicationId $script:TeamsResource $Bound.Certificate ''
        }
        'AccessTokens' {
            $tenant = if ($Bound.ContainsKey('TenantId')) { $Bound.TenantId } else { '' }
            New-Connection 'MicrosoftTeams' $tenant '' $script:TeamsResource $null $Bound.AccessTokens[-1]
        }
        default { throw "The parameter set $ParameterSet of Connect-MicrosoftTeams is not simulated." }
    }
    try { $answer = Send-Cmdlet 'Connect-MicrosoftTeams' @{} }
    catch { Clear-Connection; throw }
    $script:Connection.TenantId = $answer.output[0].TenantId
    $Caller.WriteObject($answer.output[0])
}

function Disconnect-Simulated { Clear-Connection }
